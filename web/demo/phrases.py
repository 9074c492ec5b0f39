"""What customers and agents of Delta CRM write to each other, in English and Egyptian Arabic.

Slots in braces: customer, agent, goods, weekday, amount, number, pieces, fee.
"""

from __future__ import annotations

from web.demo.words import Term, terms

GOODS = terms(
    """
    office chairs|كراسي مكتب
    solar panels|ألواح شمسية
    cash registers|ماكينات كاشير
    air conditioners|أجهزة تكييف
    school desks|مقاعد مدرسية
    water filters|فلاتر مياه
    security cameras|كاميرات مراقبة
    label printers|طابعات ملصقات
    steel shelves|أرفف حديد
    coffee machines|ماكينات قهوة
    """
)
WEEKDAYS = terms(
    """
    Sunday|الأحد
    Monday|الاثنين
    Tuesday|الثلاثاء
    Wednesday|الأربعاء
    Thursday|الخميس
    """
)
STAGES = terms(
    """
    New lead|عميل جديد
    Contacted|تم التواصل
    Offer sent|تم إرسال العرض
    Negotiation|تفاوض
    Won|تم البيع
    Lost|لم يتم
    """
)
TAGS = ("vip", "جملة", "wholesale", "متأخر في الدفع", "new", "عميل دائم", "school", "حكومي")

# In these, turns alternate: the customer begins.
OPENERS = (
    terms(
        """
        Good morning 🌷|صباح الخير 🌷
        Good morning, this is {agent} from Delta. How can I help you?|صباح النور يا فندم، معاك {agent} من دلتا، أقدر أساعد حضرتك إزاي؟
        """
    ),
    terms(
        """
        Hello, I found your number on the website|السلام عليكم، لقيت رقمكم على الموقع
        Welcome {customer}! What are you looking for?|وعليكم السلام أهلا بحضرتك يا {customer}، بتدور على إيه؟
        """
    ),
    terms(
        """
        Hi {agent}|مساء الخير يا {agent}
        Good evening {customer}, nice to hear from you again 😊|مساء النور يا {customer}، نورتنا تاني 😊
        """
    ),
    terms(
        """
        Is anyone there?|حد موجود؟
        Yes, I am with you. Sorry for the wait|أيوه مع حضرتك، آسفين على التأخير
        """
    ),
)
MIDDLES = (
    terms(
        """
        How much are the {goods}?|بكام {goods}؟
        The price starts at {amount} pounds, VAT included|السعر يبدأ من {amount} جنيه شامل الضريبة
        And for {pieces} pieces?|ولو عايز {pieces} قطعة؟
        From 10 pieces there is a discount of 7 %. Shall I send an offer?|من أول 10 قطع فيه خصم 7٪، أبعت لحضرتك عرض سعر؟
        Yes please, to my e-mail|أيوه لو سمحت على الإيميل
        """
    ),
    terms(
        """
        My order {number} has not arrived yet|الأوردر رقم {number} لسه ما وصلش
        I am sorry. Let me check with the warehouse, one minute|آسف جدا لحضرتك، ثواني أراجع مع المخزن
        Take your time|خد وقتك
        It leaves the warehouse today and will be with you on {weekday}|هيخرج من المخزن النهارده ويوصل لحضرتك يوم {weekday}
        Please make sure, the opening is on {weekday}|ياريت تتأكد لأن الافتتاح يوم {weekday}
        I have marked it as urgent ✅|اتسجل كطلب مستعجل ✅
        """
    ),
    terms(
        """
        Can you send the invoice again?|ممكن تبعت الفاتورة تاني؟
        Of course. Invoice {number} for {amount} pounds, attached 📎|طبعا، فاتورة رقم {number} بمبلغ {amount} جنيه مرفقة 📎
        Received. I will transfer on {weekday}|وصلت، هحول المبلغ يوم {weekday}
        Please write the invoice number in the transfer|ياريت حضرتك تكتب رقم الفاتورة في التحويل
        """
    ),
    terms(
        """
        One of the {goods} stopped working|واحدة من {goods} عطلت
        What exactly happens? A photo would help|إيه اللي بيحصل بالظبط؟ لو فيه صورة هتساعدنا
        [photo] it does not switch on at all|[صورة] مش بتشتغل خالص
        It is under warranty. A technician can come on {weekday} between 10 and 2|لسه في الضمان، الفني ممكن ييجي يوم {weekday} من 10 لـ 2
        {weekday} suits me|{weekday} مناسب
        """
    ),
    terms(
        """
        Do you deliver to Upper Egypt?|بتوصلوا للصعيد؟
        Yes, to all governorates. Delivery costs {fee} pounds|أيوه لكل المحافظات، والتوصيل بـ {fee} جنيه
        And cash on delivery?|والدفع عند الاستلام؟
        Up to {amount} pounds, above that half in advance|لحد {amount} جنيه، وأكتر من كده نص المبلغ مقدم
        """
    ),
    terms(
        """
        Your competitor gives me {goods} for {amount}|منافسكم عامل {goods} بـ {amount}
        With two years of warranty and installation?|شامل ضمان سنتين والتركيب؟
        I did not ask about that, to be honest|بصراحة ما سألتش
        I can match the price if you take {pieces} pieces, installation is on us|أقدر أعمل نفس السعر لو حضرتك خدت {pieces} قطعة والتركيب علينا
        Let me speak with my partner|هتكلم مع شريكي وأرد عليك
        Of course, the offer is valid until {weekday}|تحت أمرك، العرض ساري لحد يوم {weekday}
        """
    ),
    terms(
        """
        Where is your showroom?|المعرض فين؟
        Nasr City, behind the exhibition ground, open until 9 in the evening|مدينة نصر خلف أرض المعارض، شغالين لحد 9 مساء
        Is there parking?|فيه مكان للعربية؟
        Yes, in front of the building 🚗|أيوه قدام المبنى 🚗
        """
    ),
    terms(
        """
        I want to change the delivery address of order {number}|عايز أغير عنوان توصيل الطلب رقم {number}
        Sure, what is the new address?|أكيد، إيه العنوان الجديد؟
        15 El Geish Street, third floor, next to the pharmacy|15 شارع الجيش الدور التالت جنب الصيدلية
        Changed. The driver will call before he comes|تم التعديل، والمندوب هيتصل قبل ما ييجي
        """
    ),
)
CLOSINGS = (
    terms(
        """
        Thank you very much|شكرا جزيلا
        At your service any time 🙏|في خدمة حضرتك في أي وقت 🙏
        """
    ),
    terms(
        """
        OK 👍|تمام 👍
        Have a nice day|يومك سعيد
        """
    ),
    terms(
        """
        God bless you, {agent}|ربنا يبارك فيك يا {agent}
        You are welcome, {customer}|العفو يا {customer}
        """
    ),
)
FOLLOW_UP: tuple[Term, ...] = terms(
    """
    Hello, any news?|السلام عليكم، فيه جديد؟
    Hello {customer}, I was just about to write: it is all arranged for {weekday}|أهلا {customer}، كنت لسه هكتب لحضرتك: كل حاجة جاهزة يوم {weekday}
    """
)
