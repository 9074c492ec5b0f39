"""What Nakheel Trading sells: goods by category, in English and Arabic."""

from __future__ import annotations

from dataclasses import dataclass

from web.demo.words import Term, terms


@dataclass(frozen=True)
class Category:
    """Goods of one kind, which come in the same packs."""

    name: Term
    cost: int  # fils, a usual cost of the smallest pack
    goods: tuple[Term, ...]
    packs: tuple[Term, ...]


WEIGHTS = terms(
    """
    500 g|500 جم
    1 kg|1 كجم
    5 kg|5 كجم
    10 kg|10 كجم
    25 kg sack|كيس 25 كجم
    """
)
LITRES = terms(
    """
    750 ml|750 مل
    1.5 l|1.5 لتر
    5 l|5 لتر
    17 l tin|صفيحة 17 لتر
    carton of 6|كرتون 6 حبات
    """
)
PIECES = terms(
    """
    single|حبة واحدة
    pair|زوج
    box of 6|علبة 6 قطع
    box of 12|علبة 12 قطعة
    carton of 48|كرتون 48 قطعة
    """
)

BRANDS = terms(
    """
    Waha|واحة
    Sadaf|صدف
    Barq|برق
    Rimal|رمال
    Shuruq|شروق
    Danat|دانة
    Areen|عرين
    Misk|مسك
    """
)

CATEGORIES = (
    Category(
        Term("Dates", "التمور"),
        1400,
        terms(
            """
            Medjool dates|تمر مجهول
            Khalas dates|تمر خلاص
            Sukkari dates|تمر سكري
            Ajwa dates|تمر عجوة
            Date syrup|دبس التمر
            Stuffed dates with almonds|تمر محشو باللوز
            """
        ),
        WEIGHTS,
    ),
    Category(
        Term("Coffee and tea", "القهوة والشاي"),
        1900,
        terms(
            """
            Arabic coffee with cardamom|قهوة عربية بالهيل
            Turkish coffee|قهوة تركية
            Black tea|شاي أسود
            Green tea with mint|شاي أخضر بالنعناع
            Hibiscus|كركديه
            Sage tea|شاي المرمية
            """
        ),
        WEIGHTS,
    ),
    Category(
        Term("Spices", "البهارات"),
        900,
        terms(
            """
            Cardamom|هيل
            Cumin|كمون
            Turmeric|كركم
            Black pepper|فلفل أسود
            Dried lime|لومي
            Seven spices|سبع بهارات
            Saffron threads|زعفران
            """
        ),
        WEIGHTS,
    ),
    Category(
        Term("Rice and grains", "الأرز والحبوب"),
        600,
        terms(
            """
            Basmati rice|أرز بسمتي
            Egyptian rice|أرز مصري
            Red lentils|عدس أحمر
            Chickpeas|حمص
            Bulgur|برغل
            Freekeh|فريكة
            Couscous|كسكس
            """
        ),
        WEIGHTS,
    ),
    Category(
        Term("Oils and vinegar", "الزيوت والخل"),
        1100,
        terms(
            """
            Sunflower oil|زيت دوار الشمس
            Olive oil|زيت زيتون
            Corn oil|زيت ذرة
            Sesame oil|زيت سمسم
            Grape vinegar|خل عنب
            """
        ),
        LITRES,
    ),
    Category(
        Term("Drinks", "المشروبات"),
        350,
        terms(
            """
            Mango juice|عصير مانجو
            Pomegranate juice|عصير رمان
            Rose water|ماء ورد
            Mineral water|مياه معدنية
            Tamarind drink|شراب تمر هندي
            """
        ),
        LITRES,
    ),
    Category(
        Term("Kitchen ware", "أدوات المطبخ"),
        2600,
        terms(
            """
            Coffee pot|دلة قهوة
            Tea glasses|استكانات شاي
            Serving tray|صينية تقديم
            Cooking pot|قدر طبخ
            Knife set|طقم سكاكين
            Mixing bowl|وعاء خلط
            Incense burner|مبخرة
            """
        ),
        PIECES,
    ),
    Category(
        Term("Cleaning", "مواد التنظيف"),
        700,
        terms(
            """
            Dish soap|سائل غسيل الصحون
            Floor cleaner|منظف أرضيات
            Hand soap|صابون يدين
            Glass cleaner|منظف زجاج
            Laundry liquid|سائل غسيل
            """
        ),
        LITRES,
    ),
    Category(
        Term("Stationery", "القرطاسية"),
        450,
        terms(
            """
            Copy paper A4|ورق تصوير A4
            Ballpoint pen|قلم حبر جاف
            Lever file|ملف حفظ
            Notebook|دفتر ملاحظات
            Stapler|دباسة
            Receipt book|دفتر إيصالات
            """
        ),
        PIECES,
    ),
    Category(
        Term("Lighting", "الإنارة"),
        1500,
        terms(
            """
            LED bulb 9 W|مصباح ليد 9 واط
            LED panel|لوحة ليد
            Ramadan lantern|فانوس رمضان
            Desk lamp|مصباح مكتب
            Flood light|كشاف إضاءة
            """
        ),
        PIECES,
    ),
    Category(
        Term("Hand tools", "العدد اليدوية"),
        3200,
        terms(
            """
            Claw hammer|مطرقة
            Screwdriver set|طقم مفكات
            Spanner|مفتاح ربط
            Tape measure|شريط قياس
            Spirit level|ميزان ماء
            Pliers|زردية
            """
        ),
        PIECES,
    ),
    Category(
        Term("Plumbing", "السباكة"),
        1800,
        terms(
            """
            Kitchen mixer|خلاط مطبخ
            Shower head|رأس دش
            PVC elbow|كوع بلاستيك
            Ball valve|محبس كروي
            Flexible hose|خرطوم مرن
            """
        ),
        PIECES,
    ),
    Category(
        Term("Textiles", "المنسوجات"),
        2900,
        terms(
            """
            Bath towel|منشفة حمام
            Bed sheet|شرشف سرير
            Prayer mat|سجادة صلاة
            Cotton ghutra|غترة قطن
            Table cloth|مفرش طاولة
            """
        ),
        PIECES,
    ),
    Category(
        Term("Packaging", "التغليف"),
        500,
        terms(
            """
            Paper bag|كيس ورقي
            Gift box|علبة هدايا
            Cling film|غلاف بلاستيكي
            Packing tape|شريط لاصق
            Corrugated carton|كرتون مضلع
            """
        ),
        PIECES,
    ),
)
